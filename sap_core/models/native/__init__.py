"""Model classes for published models that transformers has no class for. Same tensor names as published."""
