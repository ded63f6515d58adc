"""Layer tests: what is left of a network whose blocks change places, go, or are made anew.

What belongs here: which networks a test makes (`variants`), their features with shared prefixes
(`chain`, `passes`), what is read out of them (`outcomes`), and the table (`rows`). What does not:
the changes themselves (`models.surgery`), read-outs (`readout`), and figures.
"""
