"""Words a number of things: "1 row", "1,200 rows"."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun; `many` where the plural is more than an "s"."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
