"""What single steps of the data path cost, without sockets' far ends: `make bench-micro`."""
