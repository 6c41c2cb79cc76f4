"""Where the work of a build runs: what computes the flow, on which GPUs, and which nodes must stay.

`probe` computes one pair on a node, `backend` decides by it what the recipe says, `cluster` is what both ask of Ray.
`gpus` keeps an actor on each GPU, `holds` keeps the nodes alive whose files are needed, `autoscaler` says whether nodes
can come. What each stage takes is in `resources`, beside this folder. Begin reading with `backend`.
"""
