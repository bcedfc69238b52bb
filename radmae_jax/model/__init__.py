"""Pure JAX/Flax models, and their analytic FLOPs."""
