DROP TABLE stream_floors, replicas, leases, dead_letters, outbox, dirty_symbols, vsa_events, bars, symbol_state, installation;
