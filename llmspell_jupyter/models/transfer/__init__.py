"""Bytes of files on the hub, over our own HTTP: which hosts, which connections, which answers.

``models.hub`` reads single ranges with it and ``models.pull`` whole models.

    addresses   where files are fetched from, and where never
    client      connections: proxies, TLS, the token
    line        one request after another over one of them; redirects, answers
    failures    what another try may mend
    sockets     all open connections, so that a stop ends them at once
    ranged      one range of a file
"""
