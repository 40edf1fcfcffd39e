"""Train a linear policy for CartPole by random search, and outlive the simulators.

Each channel named gets a thread; all search from the best policy found so far. A
simulator or a link that is lost costs one episode: the next ``reset`` waits for it to
come back::

    python train.py cartpole --seconds 20
    python train.py sim1-cartpole sim2-cartpole sim3-cartpole

It ends after ``--seconds``, or on SIGTERM, prints "done" and exits with 0. It exits
with another code if it cannot go on, or if nothing moved for ``--patience`` seconds.
"""

import argparse
import faulthandler
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np

import rlay


class Search:
    """What the threads share: the best policy, and counts for the log."""

    def __init__(self, seconds, patience):
        self.weights, self.best = np.zeros(4), 0.0
        self.steps = self.losses = 0
        self.stop = threading.Event()
        self._patience = patience
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()

    @property
    def over(self):
        """Whether the time is up or somebody asked it to stop."""
        return self.stop.is_set() or time.monotonic() >= self._end

    def add(self, weights, total, steps):
        """Count an episode, and keep its policy if it is the best."""
        # A hang of all simulators ends the program with every thread's stack.
        faulthandler.dump_traceback_later(self._patience, exit=True)
        with self._lock:
            self.steps += steps
            if total >= self.best:
                self.weights, self.best = weights, total


def say(text):
    """Print a line, in one piece though other threads print too."""
    print(text + "\n", end="", flush=True)


def episode(env, weights, seed):
    """Play one episode; return its sum of rewards and its number of steps."""
    observation, _ = env.reset(seed=seed)
    total, steps = 0.0, 0
    while True:
        action = int(observation @ weights > 0)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, steps = total + reward, steps + 1
        if terminated or truncated:
            return total, steps


def explore(name, number, search):
    """Try one policy after the other on the environment of one channel."""
    random = np.random.default_rng(number)
    env = rlay.ClientEnv(name)
    say(f"{name}: {env.remote_spec.id}")
    lost = False
    while not search.over:
        weights = search.weights + random.normal(size=4)
        try:
            total, steps = episode(env, weights, seed=int(random.integers(2**31)))
        except rlay.PeerLost as error:  # EnvLost and LinkDown are such
            if not lost:
                search.losses += 1
                say(f"{name}: lost: {error}")
            lost = True
            continue
        search.add(weights, total, steps)
        if lost:
            say(f"{name}: goes on")
        lost = False
    env.close()


def report(search):
    """Print a line each second until it is over."""
    while not search.over:
        say(f"steps {search.steps}, best return {search.best:g}")
        search.stop.wait(1)


def main():
    """Read the arguments, run the threads, and say how it ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("channels", nargs="+", metavar="CHANNEL")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--patience", type=float, default=90)
    arguments = parser.parse_args()

    faulthandler.dump_traceback_later(arguments.patience, exit=True)
    search = Search(arguments.seconds, arguments.patience)
    signal.signal(signal.SIGTERM, lambda number, frame: search.stop.set())
    with ThreadPoolExecutor(len(arguments.channels) + 1) as threads:
        explorers = [
            threads.submit(explore, name, number, search)
            for number, name in enumerate(arguments.channels)
        ]
        threads.submit(report, search)
        for explorer in as_completed(explorers):
            search.stop.set()  # one that failed ends the others
            explorer.result()
    say(
        f"done: {search.steps} steps, best return {search.best:g}, {search.losses} lost"
    )


if __name__ == "__main__":
    main()
