"""Where events are kept: one package for each kind of store, each an answer to the Protocols in `core.ports`."""
