using System;
using RLay;
using UnityEngine;

/// <summary>A pendulum with a motor too weak to lift it at once; the trainer swings it up.</summary>
public sealed class PendulumAgent : RLayAgent
{
    private const float Gravity = 9.81f;
    private const float Length = 1f;
    private const float MaxTorque = 4f;
    private const float MaxSpeed = 8f;

    private System.Random random = new System.Random(0);
    private float angle;
    private float speed;

    public override Space CreateObservationSpace()
    {
        return Space.Dict("direction", Space.Box(-1, 1, 2), "speed", Space.Box(-MaxSpeed, MaxSpeed, 1));
    }

    public override Space CreateActionSpace()
    {
        return Space.Box(-1, 1, 1);
    }

    public override void OnEpisodeBegin()
    {
        random = new System.Random(Reset.SeedOr(random.Next()));
        angle = (float)(Math.PI * (1 + 0.1 * (random.NextDouble() - 0.5)));
        speed = 0;
    }

    public override void CollectObservations(RLayObservations observations)
    {
        observations.Add("direction", new[] { (float)Math.Cos(angle), (float)Math.Sin(angle) });
        observations.Add("speed", new[] { speed });
    }

    public override void OnActionReceived(RLayAction action)
    {
        float torque = MaxTorque * Math.Max(-1f, Math.Min(1f, action.Continuous[0]));
        speed += (Gravity / Length * (float)Math.Sin(angle) + torque) * Time.fixedDeltaTime;
        speed = Math.Max(-MaxSpeed, Math.Min(MaxSpeed, speed));
        angle += speed * Time.fixedDeltaTime;
        AddReward((float)Math.Cos(angle));
    }

    public override void Heuristic(RLayAction action)
    {
        // Pushes the way it swings: more and more energy.
        action.Continuous = new[] { speed >= 0 ? 1f : -1f };
    }
}
