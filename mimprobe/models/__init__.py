"""Networks: where they can be observed, and where their tokens lie."""
