"""Names what is odd about a file that is read all the same: short words for the manifest's column `flags`."""

# Each with what it means and how the file was read. The index counts them.
FLAGS: dict[str, str] = {}
