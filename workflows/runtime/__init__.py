"""What every long command needs: a Ray cluster (`cluster`), progress (`progress`), and an orderly end (`signals`).

In: an address, counts, a signal. Out: a connection, lines on the terminal, an exception. Begin reading with
`cluster.connected`. `model_errors` turns errors of `models` into lines.
"""
