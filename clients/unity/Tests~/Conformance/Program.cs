using System;
using System.IO;

namespace RLay.Conformance
{
    /// <summary>The test program of clients/README.md.</summary>
    internal static class Program
    {
        private const int Done = 0;
        private const int Fault = 1;
        private const int Refused = 3;
        private const int Unsupported = 4;

        private static int Main(string[] arguments)
        {
            if (arguments.Length != 2)
            {
                Console.Error.WriteLine("usage: vectors DIRECTORY | environment CASE | game CASE");
                return Fault;
            }
            try
            {
                switch (arguments[0])
                {
                    case "vectors":
                        new Vectors(Console.Out).Run(Path.Combine(arguments[1], "vectors.msgpack"));
                        return Done;
                    case "environment":
                        ScriptedEnvironment.Serve(Script.Load(arguments[1]));
                        return Done;
                    case "game":
                        ScriptedEnvironment.Play(Script.Load(arguments[1]));
                        return Done;
                    default:
                        Console.Error.WriteLine("there is no role " + arguments[0]);
                        return Unsupported;
                }
            }
            catch (Leaving)
            {
                return Done;
            }
            catch (RLayException error)
            {
                Console.Error.WriteLine(error.GetType().Name + ": " + error.Message.Replace('\n', ' '));
                return Refused;
            }
        }
    }
}
