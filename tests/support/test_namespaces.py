"""The two machines of a test are apart, joined by a wire, and gone afterwards."""

import os
import signal
import sys
import time

import pytest

from tests.support.channels import say
from tests.support.namespaces import namespaces, two_machines, why_not
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

PORT = 7450

# Prints each datagram that comes.
LISTEN = f"""
import socket
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", {PORT}))
print("bound", flush=True)
while True:
    print(sock.recv(100).decode(), flush=True)
"""
# Sends a datagram to an address.
SEND = f"""
import socket, sys
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.sendto(sys.argv[2].encode(), (sys.argv[1], {PORT}))
"""


@pytest.fixture
def ears(children, machines):
    """A listening program on each machine, by its name."""
    listening = {}
    for name in ("near", "far"):
        machine = getattr(machines, name)
        command = machine.command(sys.executable, "-c", LISTEN)
        listening[name] = children.start_command(command, forever=True)
    for child in listening.values():
        child.wait_until_printed("bound")
    return listening


def send(machine, address, word):
    """Send a datagram from a machine."""
    machine.run(sys.executable, "-c", SEND, address, word)


def test_machines_reach_each_other(machines, ears):
    """What one sends, the other receives, and nobody else."""
    send(machines.near, machines.far.address, "there")
    send(machines.far, machines.near.address, "back")
    ears["far"].wait_until_printed("there")
    ears["near"].wait_until_printed("back")
    assert "there" not in ears["near"].stdout


def test_machines_have_a_loopback_of_their_own(machines, ears):
    """127.0.0.1 is another one on each machine, blackhole or not."""
    machines.blackhole()
    send(machines.near, "127.0.0.1", "myself")
    ears["near"].wait_until_printed("myself")
    assert "myself" not in ears["far"].stdout


def test_blackhole_of_one_direction_spares_the_other(machines, ears):
    """Of four datagrams only the one to the healthy side and those after it arrive."""
    machines.blackhole("to_far")
    send(machines.near, machines.far.address, "lost")
    send(machines.far, machines.near.address, "passes")
    ears["near"].wait_until_printed("passes")
    machines.heal()
    send(machines.near, machines.far.address, "healed")
    ears["far"].wait_until_printed("healed")
    assert "lost" not in ears["far"].stdout


def test_loss_is_in_both_directions(machines, ears):
    """A probability of 1 loses all."""
    machines.lose(1.0)
    send(machines.near, machines.far.address, "lost")
    send(machines.far, machines.near.address, "lost")
    machines.heal()
    for name, machine in (("near", machines.far), ("far", machines.near)):
        send(machine, getattr(machines, name).address, "healed")
        ears[name].wait_until_printed("healed")
        assert "lost" not in ears[name].stdout


def own_machines():
    """Make machines, say their names, and wait; runs in a child."""
    with two_machines() as machines:
        say(machines.near.namespace, machines.far.namespace)
        time.sleep(60)


def said_names(child):
    """Return what :func:`own_machines` said."""
    return wait_until(lambda: child.stdout.endswith("\n") and child.stdout.split())


def test_machines_of_a_killed_process_are_swept_and_of_a_living_one_kept(children):
    """Only a free lock says that nobody needs them."""
    killed = children.start(own_machines)
    alive = children.start(own_machines, forever=True)
    names = {child: said_names(child) for child in (killed, alive)}
    killed.kill()
    with two_machines():
        left = set(namespaces())
    assert not left & set(names[killed])
    assert set(names[alive]) <= left


def test_machines_are_removed_when_the_block_fails():
    """An error inside leaves nothing behind."""
    names = []

    def fail():
        with two_machines() as machines:
            names.extend([machines.near.namespace, machines.far.namespace])
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert len(names) == 2
    assert not set(names) & set(namespaces())
