"""Scores: logits of clips (`evaluation`), accuracies (`metrics`), mean average precisions of Charades (`actions`).

In: a network and batches of clips with labels. Out: `Predictions`, and numbers. Begin reading with `evaluation`.
"""
