// How Unreal Build Tool builds the plugin.

using System.IO;
using UnrealBuildTool;

public class RLay : ModuleRules
{
	public RLay(ReadOnlyTargetRules Target) : base(Target)
	{
		PCHUsage = PCHUsageMode.UseExplicitOrSharedPCHs;
		PublicDependencyModuleNames.AddRange(new[] { "Core", "CoreUObject", "Engine" });
		PublicIncludePaths.Add(Path.Combine(ModuleDirectory, "..", "ThirdParty", "RLay"));
		if (Target.Platform == UnrealTargetPlatform.Win64)
		{
			PublicSystemLibraries.Add("ws2_32.lib");
		}
	}
}
