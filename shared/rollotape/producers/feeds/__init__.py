"""Live feeds: bars as they are made, from a market-data service or from files that grow."""
