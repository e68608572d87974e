DROP TABLE exchanges, universes;
