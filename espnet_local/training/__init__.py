"""The five training stages: what each sub-stage trains, from which parent, and running it."""
