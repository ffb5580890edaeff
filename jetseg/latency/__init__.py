"""How long a network takes on a device: tables of measured operators, and what is predicted from them."""
