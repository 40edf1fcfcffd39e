using System;

namespace RLay
{
    /// <summary>Which kind of end a name leads to: mapped memory, or a bridge's address.</summary>
    internal static class Attaching
    {
        public static bool IsAddress(string name)
        {
            return name.Contains("://");
        }

        public static IServerEnd OpenServer(string name, AttachOptions options, Paradigm paradigm, uint numEnvs)
        {
            if (IsAddress(name)) throw new RLayException(ErrorCode.Unsupported, "addresses are not supported: " + name);
            CheckMapped(name);
            return new MappedServer(name, options.Directory, paradigm, numEnvs);
        }

        public static IClientEnd OpenClient(string name, AttachOptions options, Paradigm paradigm)
        {
            CheckMapped(name);
            return new MappedClient(name, options.Directory, paradigm);
        }

        private static void CheckMapped(string name)
        {
            if (Libc.IsAvailable) return;
            throw new RLayException(ErrorCode.Unsupported, "this system has no mapped channels: in place of '" + name
                                    + "' name the address of a bridge, tcp://host:port/" + name);
        }
    }
}
