"""The paper's experiments (section 4) and ours, as rows of a table from which plots and reports are drawn."""
