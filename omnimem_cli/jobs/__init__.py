"""What a command sets going: inputs, targets, records, one input's run, many inputs' runs, several devices."""
