"""Why a network lost what it lost: one file for each way in which a smaller network is made."""
