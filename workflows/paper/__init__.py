"""`paper`: the tables of "Quo Vadis, Action Recognition?" as commands, beside the paper's own figures."""
