"""The demo corpus: stories with exact entropy, exact faults and scored tasks. No torch."""
