"""The transducer: predictor, joiner and losses."""
