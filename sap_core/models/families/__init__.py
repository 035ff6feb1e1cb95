"""One file per family: how its config.json is read and its tensors are named. No torch here."""
