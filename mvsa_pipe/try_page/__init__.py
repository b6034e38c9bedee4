"""A local page on which runs answer a text and a picture."""
