"""PPO in one file, in the manner of CleanRL, on environments in other processes.

Everything from the network to the loop is in this file. The only lines about RLay are
the import and ``make_env``: each CartPole runs in a process of its own.
"""

import argparse
import random
import time

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.distributions import Categorical

import rlay


def parse_arguments():
    """Return the hyperparameters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env-id", default="CartPole-v1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=40_000, help="of all environments")
    parser.add_argument("--num-envs", type=int, default=4)
    parser.add_argument("--rollout", type=int, default=128, help="of each environment")
    parser.add_argument("--epochs", type=int, default=4, help="passes over a rollout")
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--gamma", type=float, default=0.99, help="discount")
    parser.add_argument("--gae-lambda", type=float, default=0.95)
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--entropy", type=float, default=0.01)
    parser.add_argument("--value", type=float, default=0.5, help="weight of its loss")
    parser.add_argument("--max-gradient", type=float, default=0.5, help="its norm")
    return parser.parse_args()


def make_env(env_id):
    """Return a function that makes one environment, in a process of its own."""
    return lambda: gymnasium.wrappers.RecordEpisodeStatistics(rlay.spawn(env_id))


def layer(inputs, outputs, gain=2**0.5):
    """Return a linear layer with orthogonal weights."""
    made = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(made.weight, gain)
    nn.init.zeros_(made.bias)
    return made


def network(inputs, outputs, gain):
    """Return two hidden layers of 64 units and a last layer of a gain of its own."""
    hidden = [layer(inputs, 64), nn.Tanh(), layer(64, 64), nn.Tanh()]
    return nn.Sequential(*hidden, layer(64, outputs, gain))


class Agent(nn.Module):
    """Two small networks: the policy and the value of an observation."""

    def __init__(self, inputs, actions):
        super().__init__()
        self.policy = network(inputs, actions, gain=0.01)
        self.critic = network(inputs, 1, gain=1.0)

    def value(self, observations):
        """Return the expected return from each observation."""
        return self.critic(observations).squeeze(-1)

    def forward(self, observations, actions=None):
        """Return actions, their log probabilities, the entropies and the values."""
        choice = Categorical(logits=self.policy(observations))
        actions = choice.sample() if actions is None else actions
        log_probs = choice.log_prob(actions)
        return actions, log_probs, choice.entropy(), self.value(observations)


def main():
    """Train, and print the mean return at the start and at the end."""
    args = parse_arguments()
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # small networks; the environments need the other cores

    envs = gymnasium.vector.SyncVectorEnv(
        [make_env(args.env_id)] * args.num_envs,
        autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
    )
    shape = envs.single_observation_space.shape
    agent = Agent(int(np.prod(shape)), envs.single_action_space.n)
    optimizer = torch.optim.Adam(agent.parameters(), args.learning_rate, eps=1e-5)

    size = (args.rollout, args.num_envs)
    observations = torch.zeros((*size, int(np.prod(shape))))
    actions = torch.zeros(size, dtype=torch.int64)
    log_probs, rewards, dones, values = (torch.zeros(size) for _ in range(4))

    def tensor(array):
        flat = np.reshape(array, (args.num_envs, -1))
        return torch.as_tensor(flat, dtype=torch.float32)

    returns = []
    start = time.perf_counter()
    now = tensor(envs.reset(seed=args.seed)[0])
    iterations = max(1, args.steps // (args.rollout * args.num_envs))
    for iteration in range(iterations):
        left = 1 - iteration / iterations
        optimizer.param_groups[0]["lr"] = args.learning_rate * left

        # Play.
        for step in range(args.rollout):
            with torch.no_grad():
                action, log_prob, _, value = agent(now)
            observations[step], actions[step] = now, action
            log_probs[step], values[step] = log_prob, value
            after, reward, terminated, truncated, infos = envs.step(action.numpy())
            now = tensor(after)
            rewards[step] = torch.as_tensor(reward)
            dones[step] = torch.as_tensor(terminated | truncated)
            if "final_info" in infos:
                ended = infos["final_info"]["_episode"]
                returns += infos["final_info"]["episode"]["r"][ended].tolist()

        # Generalised advantage estimation, from the last step backwards. An episode
        # that was cut short counts as ended, as in most single-file PPOs.
        advantages = torch.zeros(size)
        with torch.no_grad():
            following, carried = agent.value(now), torch.zeros(args.num_envs)
        for step in reversed(range(args.rollout)):
            goes_on = 1 - dones[step]
            delta = rewards[step] + args.gamma * following * goes_on - values[step]
            carried = delta + args.gamma * args.gae_lambda * goes_on * carried
            advantages[step], following = carried, values[step]
        targets = advantages + values

        # Learn.
        rollout = (observations, actions, log_probs, advantages, targets)
        batch = [item.flatten(0, 1) for item in rollout]
        for _ in range(args.epochs):
            shuffled = torch.randperm(args.rollout * args.num_envs)
            for part in shuffled.chunk(args.minibatches):
                sample = [item[part] for item in batch]
                seen, taken, old_log_probs, advantage, target = sample
                _, new_log_probs, entropy, value = agent(seen, taken)
                ratio = (new_log_probs - old_log_probs).exp()
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - args.clip, 1 + args.clip)
                policy_loss = -torch.min(ratio * advantage, clipped * advantage).mean()
                value_loss = (value - target).pow(2).mean() / 2
                loss = policy_loss + args.value * value_loss
                loss = loss - args.entropy * entropy.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_gradient)
                optimizer.step()

        if iteration % 10 == 9 or iteration == iterations - 1:
            steps = (iteration + 1) * args.rollout * args.num_envs
            rate = steps / (time.perf_counter() - start)
            print(
                f"step {steps}: mean return of the last 20 episodes "
                f"{np.mean(returns[-20:]):.1f}, {rate:,.0f} steps per second"
            )

    envs.close()
    print(f"mean return: first 20 episodes {np.mean(returns[:20]):.1f}, ", end="")
    print(f"last 20 episodes {np.mean(returns[-20:]):.1f}")


if __name__ == "__main__":
    main()
