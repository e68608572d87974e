"""Bars of Alpaca: minutes as they close over its WebSocket, everything else from its history over HTTP."""
