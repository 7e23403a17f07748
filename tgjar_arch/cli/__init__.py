"""The command `tgjar`: one module a subcommand, each with `main(argv=None)`; main.py picks one."""
