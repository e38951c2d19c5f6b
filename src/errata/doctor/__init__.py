"""`errata doctor`: the machine, the models, the configs and the data, before they cost an hour."""
