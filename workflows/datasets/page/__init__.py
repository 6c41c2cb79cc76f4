"""The page that `report --html` writes: what a dataset is, in one file that needs no network.

In: a dataset. Out: `report --json`'s document, and the page that shows it. The page is a template, a style and a script
beside the modules; uPlot draws its charts (MIT licence, from the npm package uplot 1.6.32). Begin reading with
`facts.py`.
"""
