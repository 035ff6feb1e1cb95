"""What pages share: navigation, pickers, the watch over running work, the replay, the words for numbers.

The only room that imports Streamlit. Nothing here computes a result and nothing here imports torch.
"""
