"""Public copies of Kinetics in archives: which archives there are (`copies`), and how they come here (`fetch`).

In: `cvdf`, an address of an archive, or a list of addresses. Out: archives in the cache, whole and checked in their
size, which `local.tars` reads. Begin with `copies`.
"""
