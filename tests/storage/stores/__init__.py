"""The contract, a flow and faults on stores of several makes."""
