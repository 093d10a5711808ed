"""The real servers behind AIGQ on one machine: start them, watch them, take them down."""
