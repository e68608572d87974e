"""Redis as one server, behind Sentinels or as a cluster: the URL says which, and nobody else has to know."""
