"""Texts from wherever a user has them, as rows of token ids. No torch here."""
