using System;
using RLay;
using UnityEngine;

/// <summary>The Pendulum sample as a player without a window: PendulumPlayer [DECISION_PERIOD] [MAX_STEP].</summary>
internal static class PendulumPlayer
{
    private static int Main(string[] arguments)
    {
        // What begins with dashes is the package's.
        arguments = Array.FindAll(arguments, one => !one.StartsWith("--", StringComparison.Ordinal));
        var scene = new GameObject();
        var agent = scene.AddComponent<PendulumAgent>();
        if (arguments.Length > 0) scene.AddComponent<RLayDecisionRequester>().DecisionPeriod = int.Parse(arguments[0]);
        if (arguments.Length > 1) agent.MaxStep = int.Parse(arguments[1]);
        var environment = scene.AddComponent<RLayEnvironment>();
        environment.Agent = agent;
        environment.QuitOnClose = true;
        CheckCamera(scene);
        UnityEngine.Player.Run();
        return 0;
    }

    /// <summary>The top row of the picture comes first.</summary>
    private static void CheckCamera(GameObject scene)
    {
        var sensor = scene.AddComponent<RLayCameraSensor>();
        sensor.Camera = new Camera();
        sensor.Width = 4;
        sensor.Height = 3;
        var image = (byte[])sensor.Capture().Data;
        if (image[0] != 2 || image[image.Length - 3] != 0) throw new InvalidOperationException("the picture is upside down");
    }
}
