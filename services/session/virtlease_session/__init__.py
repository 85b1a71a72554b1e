"""The session service: state with a lifetime, one owner each, no lost update, no return of the dead."""
