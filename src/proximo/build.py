"""Experiment → parts: every slot of the configuration becomes its object, here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from proximo.config import experiment as cfg
from proximo.config.registry import build as build_class
from proximo.config.registry import resolve
from proximo.core import rng
from proximo.core.anneal import Line
from proximo.core.batching import Batching, RowBatches, SequenceBatches
from proximo.core.collect import Collector
from proximo.core.engines.choose import choose_engine
from proximo.core.engines.eager import Plan
from proximo.core.losses import CloningLoss, CustomLoss, EntropyLoss, PolicyLoss, ValueLoss
from proximo.core.normalize import RewardScaler, statistics_dtype
from proximo.core.optim import Optimizer
from proximo.core.overlap import OverlappedCollector
from proximo.core.own_source import OwnSource
from proximo.core.ppo import PPO, Parts, normalize_rollout_advantages
from proximo.core.returns import Recursions
from proximo.core.streams import Stream
from proximo.core.timer import Timer
from proximo.core.types import EnvSpec, LossTerm, RewardTerm, Source, VecEnv
from proximo.core.warm_start import WarmStart
from proximo.demos.source import DemoSource
from proximo.envs.make import choose_backend, make_env
from proximo.envs.processors import cores
from proximo.errors import UserError
from proximo.policies.actor_critic import ActorCritic
from proximo.policies.precision import choose_precision, convolves
from proximo.rewards.terms import CustomReward, EnvReward, PotentialReward

Say = Callable[[str], None]


@dataclass
class Built:
    """The parts of one training."""

    ppo: PPO
    policy: ActorCritic
    env: VecEnv
    collector: Collector | OverlappedCollector
    device: torch.device
    choices: dict[str, Any]
    """What was chosen automatically: `engine`, `threads`, `precision`, `env` with its backend, `demos`."""
    demos: Sequence[DemoSource] = ()
    warm_start: WarmStart | None = None

    def stateful(self) -> dict[str, Any]:
        """Name → part for everything whose state goes into the checkpoint."""
        parts = self.ppo.parts
        found: dict[str, Any] = {
            "policy": self.policy,
            "optimizer": parts.optimizer,
            "ppo": self.ppo,
            "batching": parts.batching,
        }
        slots: dict[str, Sequence[Any]] = {
            "source": parts.sources,
            "stream": parts.streams,
            "reward": parts.terms,
            "loss": parts.losses,
        }
        for slot, members in slots.items():
            for member in members:
                if hasattr(member, "state_dict"):
                    found[f"{slot}.{member.name}"] = member
        return found


def choose_device(name: str, say: Say) -> torch.device:
    """The device for `auto|cpu|cuda|mps`; one that is absent falls back to the CPU with a printed line."""
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = "cuda" if present["cuda"] else "cpu"
    if not present[name]:
        say(f"device: {name} is not available here; using the CPU")
        name = "cpu"
    return torch.device(name)


WORK_PER_THREAD = 1 << 25
"""Multiplications of a minibatch's forward pass that make a further thread worth its cost (some 2 ms of one core)."""


def choose_threads(threads: int, policy: ActorCritic, minibatch: int) -> tuple[int, str]:
    """As many threads as a minibatch has work for, at most all cores, unless `threads` says otherwise; and why."""
    if threads:
        return threads, "as configured"
    work = policy.multiplications() * minibatch
    return max(1, min(cores(), work // WORK_PER_THREAD)), f"{work / 1e6:,.1f} M multiplications a minibatch"


def build_policy(exp: cfg.Experiment, spec: EnvSpec, device: torch.device) -> ActorCritic:
    """The policy, its weights drawn from the run's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.integer_seed(exp.seed, "init"))
        policy = ActorCritic(spec, exp.policy, (cfg.TASK_STREAM, *exp.streams))
    if statistics_dtype(device) is torch.float32:
        policy.normalizer.float()
    return policy.to(device)


def build(exp: cfg.Experiment, device: torch.device, timer: Timer, say: Say = print) -> Built:
    """All parts of a training, with fresh state; `say` gets one line per automatic choice."""
    telling = _telling(exp)
    backend, why = choose_backend(telling)
    env = make_env(telling.model_copy(update={"backend": backend}), device="cpu")
    policy = build_policy(exp, env.spec, device)
    threads, work = choose_threads(exp.threads, policy, exp.ppo.minibatch_size)
    torch.set_num_threads(threads)
    precision, unit = choose_precision(exp.precision, policy, device)
    policy.compute_in(getattr(torch, precision))
    torch.manual_seed(rng.integer_seed(exp.seed, "torch"))
    length = (exp.ppo.sequence_length or exp.ppo.num_steps) if policy.recurrent else exp.ppo.num_steps
    collector = Collector(
        env, exp.ppo.num_steps, exp.seed, device, sequence_length=length, timer=timer, name="env"
    )
    policy_loss = PolicyLoss(exp.ppo.clip, exp.ppo.normalize_advantage == "minibatch")
    losses, demos = _losses(exp, policy_loss), _demos(exp, env.spec, policy, timer, say)
    others: list[Source] = [*demos, *_own_sources(exp, env.spec)]
    batching, optimizer = _batching(exp, policy.recurrent, length), _optimizer(exp, policy)
    warm = exp.warm_start_steps > 0
    engine, reason = choose_engine(exp.engine, policy, losses, batching, optimizer, say, warm_start=warm)
    collector.stepping = engine.stepping(env)
    say(f"engine: {engine.name} ({reason}); PyTorch threads: {threads} ({work})")
    if convolves(policy):
        say(f"precision: {precision} ({unit})")
    say(f"env.backend: {backend} ({why})")
    acting = engine.policy(policy)
    source = OverlappedCollector(collector, lambda: engine.actor(acting)) if exp.ppo.overlap else collector
    parts = Parts(
        policy=acting,
        sources=others if exp.from_data_alone else [source, *others],
        terms=_terms(exp),
        streams=_streams(exp, env.spec.num_envs, device, engine.recursions),
        losses=losses,
        optimizer=optimizer,
        batching=batching,
        engine=engine,
        plan=Plan(exp.ppo.epochs, exp.ppo.target_kl, exp.ppo.lr_schedule == "adaptive"),
        schedules=[optimizer.at, *_schedules(exp, policy_loss, losses, batching)],
        advantages=[normalize_rollout_advantages] if exp.ppo.normalize_advantage == "rollout" else [],
        timer=timer,
    )
    # Written into the run: a later measurement of the backends must not change what it is resumed with.
    env_config = exp.env.model_copy(update={"backend": backend})
    choices = {"engine": engine.name, "threads": threads, "precision": precision, "env": env_config}
    choices["demos"] = {
        **exp.demos,
        **{s.name: exp.demos[s.name].model_copy(update={"behavior": s.behavior}) for s in demos},
    }
    updates = -(-exp.warm_start_steps // (exp.ppo.num_steps * env.spec.num_envs))
    warm_start = WarmStart(updates, policy, optimizer) if updates else None
    return Built(PPO(parts, exp.ppo.total_steps), policy, env, source, device, choices, demos, warm_start)


def _telling(exp: cfg.Experiment) -> cfg.EnvConfig:
    """The environment's configuration with the `info` numbers that reward terms read."""
    terms = [term for term in exp.rewards.values() if isinstance(term, cfg.PotentialReward)]
    read = [key for term in terms for key in (term.after, term.before)]
    return exp.env.model_copy(update={"info": tuple(dict.fromkeys([*exp.env.info, *read]))})


def _optimizer(exp: cfg.Experiment, policy: ActorCritic) -> Optimizer:
    ppo = exp.ppo
    return Optimizer(
        policy,
        ppo.learning_rate,
        ppo.lr_schedule,
        ppo.desired_kl,
        ppo.max_grad_norm,
        ppo.adam_eps,
        ppo.weight_decay,
    )


def _batching(exp: cfg.Experiment, recurrent: bool, length: int) -> Batching:
    key = rng.stream_key(exp.seed, "minibatch")
    if recurrent:
        return SequenceBatches(exp.ppo.minibatch_size, length, exp.shares, key)
    return RowBatches(exp.ppo.minibatch_size, exp.shares, key)


def _schedules(
    exp: cfg.Experiment, policy_loss: PolicyLoss, losses: Sequence[LossTerm], batching: Batching
) -> list[Callable[[float], None]]:
    found: list[Callable[[float], None]] = []
    if exp.ppo.clip_schedule == "linear":
        found.append(policy_loss.shrink)
    if exp.ppo.entropy_schedule == "linear":
        found += [term.shrink for term in losses if isinstance(term, EntropyLoss)]
    found += [term.anneal for term in losses if isinstance(term, CloningLoss) and term.line.moves]
    shares = {name: Line(n.mix_ratio, n.mix_ratio_end, n.until) for name, n in exp.demos.items()}
    moving = {name: share for name, share in shares.items() if share.moves}

    def share(progress: float) -> None:
        batching.shares.update({name: line(progress) for name, line in moving.items()})

    return [*found, share] if moving else found


def _streams(
    exp: cfg.Experiment, num_envs: int, device: torch.device, recursions: Recursions
) -> list[Stream]:
    ppo = exp.ppo

    def scaler(on: bool, gamma: float) -> RewardScaler | None:
        return RewardScaler(num_envs, gamma, ppo.reward_clip, device, recursions) if on else None

    task = Stream(
        cfg.TASK_STREAM, 1.0, ppo.gamma, ppo.gae_lambda, scaler=scaler(ppo.normalize_reward, ppo.gamma)
    )
    others = [
        Stream(name, s.weight, s.gamma, s.gae_lambda, s.episodic, scaler(s.normalize_reward, s.gamma))
        for name, s in exp.streams.items()
    ]
    return [task, *others]


def _terms(exp: cfg.Experiment) -> list[RewardTerm]:
    terms: list[RewardTerm] = [EnvReward()]
    for name, node in exp.rewards.items():
        if isinstance(node, cfg.EnvReward):
            terms.append(EnvReward(name, node.stream, node.weight))
        elif isinstance(node, cfg.PotentialReward):
            gamma = exp.ppo.gamma if node.stream == cfg.TASK_STREAM else exp.streams[node.stream].gamma
            terms.append(PotentialReward(name, node.stream, node.weight, gamma, node.after, node.before))
        else:
            function = build_class(resolve(node.type), node.kwargs, where=f"rewards.{name}")
            terms.append(CustomReward(name, node.stream, node.weight, function))
    return terms


def _losses(exp: cfg.Experiment, policy_loss: PolicyLoss) -> list[LossTerm]:
    ppo = exp.ppo
    losses: list[LossTerm] = [EntropyLoss(ppo.entropy_coef)]
    if ppo.surrogate:
        losses = [policy_loss, ValueLoss(ppo.value_coef, ppo.value_clip), *losses]
    elif ppo.value_coef:
        losses = [ValueLoss(ppo.value_coef, ppo.value_clip), *losses]
    for name, node in exp.losses.items():
        if isinstance(node, cfg.CloningLoss):
            losses.append(CloningLoss(name, Line(node.weight, node.weight_end, node.until)))
        else:
            function = build_class(resolve(node.type), node.kwargs, where=f"losses.{name}")
            losses.append(CustomLoss(name, node.weight, function))
    return losses


def _own_sources(exp: cfg.Experiment, spec: EnvSpec) -> list[Source]:
    found: list[Source] = []
    for name, node in exp.sources.items():
        if name not in exp.shares:
            continue
        source = OwnSource(
            name, build_class(resolve(node.type), node.kwargs, exp, spec, where=f"sources.{name}"), spec
        )
        if source.fresh and not exp.from_data_alone:
            raise UserError(
                f"sources.{name}: fresh rows come from the environments; a source beside them must say fresh = False"
            )
        found.append(source)
    return found


def _demos(
    exp: cfg.Experiment, spec: EnvSpec, policy: ActorCritic, timer: Timer, say: Say
) -> list[DemoSource]:
    if not exp.demos:
        return []
    # Reading data sets needs packages that only demonstrations need.
    from proximo.demos.make import demo_sources

    return demo_sources(exp, spec, policy, lambda: build_policy(exp, spec, policy.device), timer, say)
