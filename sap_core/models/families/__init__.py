"""One file per model family: how its config.json is read and its tensors are named. No torch here."""
