"""Read texts from files and data sets as rows of token ids. No torch here."""
