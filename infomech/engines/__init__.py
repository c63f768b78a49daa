"""Execute a stack of layers: one module per engine, and a planner that chooses among them.

Each module defines one `Engine` (see `infomech.engines.stack`). To add an engine, for example one
that fuses several layers on an accelerator, write such a module and add its object to `ENGINES` in
`infomech.engines.plan`; or pass the object as `engine=`.
"""
