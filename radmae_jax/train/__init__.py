"""From a configuration and a manifest to checkpoints: mesh, steps, optimizer, loop."""
