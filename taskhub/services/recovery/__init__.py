"""Take back what dead processes held."""
