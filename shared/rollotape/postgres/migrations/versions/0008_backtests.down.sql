DROP TABLE backtest_events, backtest_results, backtest_runs;
