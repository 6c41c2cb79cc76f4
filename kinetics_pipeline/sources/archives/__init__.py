"""Public copies of Kinetics in archives: which archives there are (`copies`, `places`), the list that a dataset keeps
of them (`listed`), and how one comes here (`fetch`) and is read meanwhile (`arriving`).

In: the word cvdf, an address of an archive, a list of addresses, or a place that can be listed. Out: archives in the
cache, whole and checked in their size, whose videos `local.tars` finds. Begin with `copies`.
"""
