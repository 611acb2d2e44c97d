"""`proximo bench`: Proximo and its peers, measured side by side.

The peers' scripts are in `benchmarks/peers` of the source repository, outside of the package, so that nothing here
imports a peer.
"""
